"""How anything is trained; no stage is known by name here."""
