"""The door for API servers: AdmissionReviews in, what names of stream tags stand for out."""

from listener.edges.admission.door import Door, Limits

__all__ = ["Door", "Limits"]
