"""What users write: immutable, validated models, and how a file becomes one of them."""
