"""The chart and the HR example in Pods. A package, so that what it has entered is left when its last test is done."""
