"""HTTP: parse into contract models, prove who calls, await one use case, answer."""
