"""The courier: tells tenants' own servers how their jobs ended. The only part whose requests leave the service."""
