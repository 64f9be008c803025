// A classic script, so that the chosen theme holds before anything is drawn.
const theme = localStorage.getItem('peft.theme')
if (theme) document.documentElement.dataset.theme = theme
