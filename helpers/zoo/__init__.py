"""Ready-made things to explain: data sets, toys, networks, decoders, kernel machines, classifiers, photographs."""
