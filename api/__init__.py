"""The front desk: HTTP to domain and back."""
