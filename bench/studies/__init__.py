"""Programs that look at one piece of the code by itself, outside the report: the routing table, streams of answers. May import all of bench but `report`."""
