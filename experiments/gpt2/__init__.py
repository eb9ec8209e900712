"""GPT-2 in several languages (paper, §4.2 and §4.3): train, intervene, predict, compare."""
