"""TensorFlow SavedModels of LAION's detectors, read safely and without TensorFlow.

No code in the file is run and nothing is unpickled: the reader parses a zip in memory, a protobuf
graph, an SSTable index and raw tensor bytes, each with a size limit and consistency checks.
"""

from laion_dask.models.tf_saved_model.detector import Detector, read_detector

__all__ = ["Detector", "read_detector"]
