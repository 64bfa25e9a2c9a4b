"""Pure numeric code: arrays in, values out."""
