"""The only SQL. Statements by noun, each a plain function that takes the transaction first."""
