"""What shows the product, or tries it on itself, with the examples of this repository; the product needs none of it."""
