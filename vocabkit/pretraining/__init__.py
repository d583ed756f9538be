"""From a vocabulary to a trained model: prepared rows, the loop, checkpoints, and export."""
