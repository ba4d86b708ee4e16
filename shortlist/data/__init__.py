"""Tables in, dense columns out: schema, vocabulary, log, dataset, check, timeline, the synthetic world, public sets."""
