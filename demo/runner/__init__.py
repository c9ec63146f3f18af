"""The demo's runner: plays honest events and attacks in the local Lambda, and judges what came of them."""
