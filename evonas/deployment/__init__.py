"""What is done to the weights of networks: inheriting them."""
