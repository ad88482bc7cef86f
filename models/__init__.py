"""What is given: the vocabulary, networks, boards, tilings and their costs."""
