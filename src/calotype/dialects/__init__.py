"""The API shapes offered to clients; each decodes a request, hands it to the engine and encodes the job."""
