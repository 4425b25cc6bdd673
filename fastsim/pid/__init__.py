"""Looking at particle identification: the familiar pictures of a card's devices, and efficiency and purity of cuts."""
