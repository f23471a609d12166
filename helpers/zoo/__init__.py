"""Ready-made things to explain: data sets, toys, networks, kernel machines, image classifiers, photographs."""
