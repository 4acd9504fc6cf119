"""OCPP frames of a station become sessions (``POST /v1/ocpp/{charging_station_id}``)."""
