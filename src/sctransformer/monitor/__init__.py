"""The watch over drift: batches held against the training cells of the model that labelled them. No MLflow here."""
