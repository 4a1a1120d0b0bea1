"""What scanners find in code, chart, images and locks, and the images' bills of materials. Imports from tests.chart; nothing imports it."""
