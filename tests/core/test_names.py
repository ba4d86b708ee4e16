from shortlist.core.names import kept, named


def test_exact_names_prefixes_and_suffixes() -> None:
    assert named("pair/count", ["pair/count"])
    assert not named("pair/count:frozen", ["pair/count"])
    assert named("pair/count", ["pair/*"])
    assert named("pair/count:frozen", ["*:frozen"])
    assert not named("pair/count", ["*:frozen", "air/*", "*coun"])
    assert not named("anything", [])


def test_what_is_spared_stays_though_it_is_dropped() -> None:
    names = ("pair/count", "pair/count:frozen", "age")
    assert kept(names, ["pair/*"]) == ("age",)
    assert kept(names, ["pair/*"], ["*:frozen"]) == ("pair/count:frozen", "age")
    assert kept(names, []) == names
