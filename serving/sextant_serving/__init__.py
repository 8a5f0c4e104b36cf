"""The model as it is served: preprocessing, engines, features, protocol server, registry."""
