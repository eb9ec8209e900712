"""Exact algebra: schedules, coloured trees, words, expansions to any order, polynomial vector fields.

Two ways lead to every expansion and share no step: trees or words with iterated integrals (``trees``,
``iterated``, ``expansions``, ``words``), and differential operators on polynomials (``fields``).
"""
