"""The parts of the customer lifetime value collector."""
