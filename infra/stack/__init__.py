"""The team's services as plain processes on one machine: PostgreSQL, an S3 store, the MLflow server, a Ray head."""
