"""Simulated homes: real Modbus servers in front of a small model of a house.

Everything that reads a home, from a driver's test to the demo, reads one of these. Nothing here is
imported by the agent itself: a simulator that shared the agent's decisions could not show them wrong.
"""
