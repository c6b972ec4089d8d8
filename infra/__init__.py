"""The team's services: as plain processes, as containers, on Kubernetes."""
