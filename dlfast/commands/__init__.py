"""What the commands of `dlfast.cli` do, a module for each; `training` holds those that train models and use them."""
