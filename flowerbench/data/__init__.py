"""From files to batches: photos, split, augmentation, batches."""
