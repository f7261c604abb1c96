"""DICOM at the hospital's end of the trip: images in, DICOM SEG out. What travels stays an ordinary photo.

Needs the extra `dicom` (pydicom, highdicom), which is imported when a file is read, never before.
"""

from hidemia.runtime.dicom.record import Source
from hidemia.runtime.dicom.scan import Scan, View, convert, frames, is_dicom, read
from hidemia.runtime.dicom.segmentation import Equipment, segmentation

__all__ = ["Equipment", "Scan", "Source", "View", "convert", "frames", "is_dicom", "read", "segmentation"]
