"""One file per aggregate. A fold is the only definition of its feature: `update` moves it forward, `read` asks it."""
