"""TensorFlow SavedModels of LAION's detectors, read without TensorFlow and without trust.

No code of a file is run and nothing of it is unpickled: a zip read in memory, a protobuf graph,
an SSTable index and raw tensor bytes, each with a cap on its size and a check of what it says.
"""

from laion_dask.models.tf_saved_model.detector import Detector, read_detector

__all__ = ["Detector", "read_detector"]
