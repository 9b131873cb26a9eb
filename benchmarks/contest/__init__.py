"""What `adaptation.py` and `representation.py` share: methods, trainings, adaptations, rows, tables."""
