"""How good a trained model is: on which photos, what was measured there, and a document of it."""
