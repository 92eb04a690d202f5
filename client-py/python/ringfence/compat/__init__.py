"""Names of systems that Ringfence grew from, so that programs written for them need no other change
than their imports."""
