"""What load balancers tell: the model they share, and each product's own metrics."""
