"""What estimators share: their interface, the integrand, couplings of draws, and control variates around them."""
