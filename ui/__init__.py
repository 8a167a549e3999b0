"""What the screens are made of: forms, jobs, charts, words. No rule of the mesh is decided here."""
