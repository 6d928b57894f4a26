"""The chart and the HR example in Pods. A package, so that its fixtures end with its last test."""
