"""Pneumonia or normal, from chest radiographs. Nothing here knows dvc.yaml or the working directory."""
