"""Who may use an appliance, and what for; read by the web, written by fwdcapd alone."""
