"""What tables of cases share: reading one, and the form of the rows of the transport."""
