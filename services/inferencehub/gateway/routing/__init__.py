"""The routing table: models, their lanes, and the demand for them. Imports `pods`; fronts reach it through `calls`."""
