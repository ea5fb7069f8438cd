/* The field above the table of status codes: it shows the rows that have every word typed into it. */
const field = document.querySelector(".status-filter")
if (field) {
  const rows = [...document.querySelectorAll(".md-content table tbody tr")]
  const texts = rows.map((row) => row.textContent.toLowerCase())
  const filter = () => {
    const words = field.value.toLowerCase().replace(/^status_/, "").split(/\s+/)
    rows.forEach((row, number) => {
      row.hidden = !words.every((word) => texts[number].includes(word))
    })
  }
  field.addEventListener("input", filter)
  filter() // the browser may have kept what was typed before
}
