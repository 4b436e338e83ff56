"""durastream beside other servers, each started in turn."""
