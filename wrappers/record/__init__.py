"""Recording of every step of every env: asynchronous, crash-safe, in constant memory.

The modules that the writer process needs import neither torch nor a simulator.
"""
