"""The areas of a Linux host, one module each: parsers of kernel texts, and the metrics made of them."""
