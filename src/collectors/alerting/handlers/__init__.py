"""Who can be told of alerts, one file each."""
