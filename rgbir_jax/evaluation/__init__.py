"""From features to CMC and mAP."""
