"""What calls cost in a full database, beside an almost empty one and beside an MLflow server."""
